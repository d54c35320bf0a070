"""One tick's answers of Prometheus, sorted by workload."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from spillway.api.vocabulary import Reason
from spillway.observe import queries
from spillway.observe.labels import Labels, pod_of, workload_of
from spillway.plan.decision import Key
from spillway.plan.observation import Missing

Series = tuple[Labels, float]
Answers = Mapping[str, "list[Series] | Missing"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One tick's answers, sorted by workload."""

    window_s: float
    at: datetime
    answers: Mapping[str, "Mapping[Key, list[Series]] | Missing"]

    @classmethod
    def of(cls, answers: Answers, *, window_s: float, at: datetime, pod_owners: Mapping[tuple[str, str], Key]) -> "Batch":
        """Sort answers by workload; what cannot be assigned is left out."""
        by_name: dict[str, Mapping[Key, list[Series]] | Missing] = {}
        for name, answer in answers.items():
            if isinstance(answer, Missing):
                by_name[name] = answer
                continue
            rows: defaultdict[Key, list[Series]] = defaultdict(list)
            for labels, value in answer:
                key = pod_owners.get(pod_of(labels)) if name == queries.GPU else workload_of(labels)
                if key is not None and math.isfinite(value):
                    rows[key].append((labels, value))
            by_name[name] = dict(rows)
        return cls(window_s=window_s, at=at, answers=by_name)

    def rows(self, name: str, key: Key) -> list[Series] | Missing:
        """Return one query's series of one workload."""
        answer = self.answers.get(name, Missing(reason=Reason.METRICS_MISSING, detail="not asked yet"))
        return answer if isinstance(answer, Missing) else answer.get(key, [])
