"""What the simulator takes from its environment: how long things take, and what goes wrong."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(kw_only=True)
class Knobs:
    """Every field is set by `SIM_<NAME>` at start, and while running by POST /sim/knobs with a JSON object."""

    start_s: float = 0.0  # from the process's start until the port is open; until then connections are refused
    deaf_after_s: float = 0.0  # of the start: from then on, until ready, SIGTERM is swallowed as by real vLLM's engine start
    step_ms: float = 8.0  # of one engine step with nothing in it
    per_seq_ms: float = 0.5  # more for each sequence in the step's batch
    prefill_tokens_per_s: float = 20_000.0
    jitter: float = 0.0  # relative spread of a step's time: 0.1 is ± 10 %
    seed: int = 0
    bytes_per_token: float = 4.0
    kv_tokens: int = 65_536  # what the KV cache holds; requests wait when it is full
    output_tokens: int = 0  # the model's own end after so many tokens (finish_reason "stop"); 0: it never ends by itself
    # Between vLLM's first look at its queue and the place in it: a burst slips through, and its streams are refused by an event.
    admission_gap_ms: float = 2.0
    hang_on_stop: int = 0  # 1: SIGTERM without a shutdown timeout leaves open requests hanging, as was seen once, instead of failing them
    fail_percent: float = 0.0  # of completions: answered with 500 before anything else
    cut_after_tokens: int = 0  # the connection is cut after so many tokens; 0: never
    stall_after_tokens: int = 0  # nothing more is sent after so many tokens; 0: never

    def update(self, values: Mapping[str, object]) -> None:
        """Set the named knobs; an unknown name or a wrong kind of value is an error and sets nothing."""
        fields = {field.name: type(getattr(self, field.name)) for field in dataclasses.fields(self)}
        if unknown := sorted(set(values) - set(fields)):
            raise ValueError(f"no knob called {', '.join(unknown)}; there are {', '.join(fields)}")
        for name, value in {name: fields[name](str(value)) for name, value in values.items()}.items():
            setattr(self, name, value)


def from_environment(environment: Mapping[str, str]) -> Knobs:
    """Return the knobs that the SIM_ variables set."""
    knobs = Knobs()
    knobs.update({name[4:].lower(): value for name, value in environment.items() if name.startswith("SIM_")})
    return knobs
