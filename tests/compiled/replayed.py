"""One small world in which everything happens once, printed request by request: run by the test with and without numba."""

import hashlib
import os

import numpy as np

from spillway.plan.replica.roofline import StepModel
from spillway.simulate import kernel
from spillway.simulate.arrivals import poisson
from spillway.simulate.policy import Seen
from spillway.simulate.setting import FAST, EngineModel, Rules, Targets, Trouble
from spillway.simulate.simulate import run

STEP = StepModel(base_ms=10.0, experts_ms=5.0, expert_share=0.2, sequence_ms=1.0, kv_ms=0.5, prompt_ms=0.05, square_ms=0.1)


class UpAndDown:
    """Wants one to four replicas, more by each tick and then one again."""

    tick_s = 20.0
    window_s = 60.0

    def replicas(self, seen: Seen) -> int:
        return 1 + int(seen.now_s // self.tick_s) % 4


def main() -> None:
    compiled = hasattr(kernel.advance, "py_func")
    assert compiled == (os.environ.get("NUMBA_DISABLE_JIT") != "1")
    prints = []
    for spills, most_pausing in ((True, 0), (True, 5), (False, 0)):
        done = run(
            poisson([(120.0, 3.0), (60.0, 9.0), (60.0, 1.0)], input_tokens=300, output_tokens=80, seed=4),
            engine=EngineModel(step=STEP, kv_tokens=2500, max_num_seqs=8, step_tokens=256, start_up_s=15.0, start_failure_share=0.2),
            rules=Rules(
                spills=spills,
                slots_per_replica=10,
                most_pausing=most_pausing,
                pause_s=0.7,
                most_held=30,
                hold_s=8.0,
                max_queued_requests=14,
                crashes_s=(50.0, 150.0),
            ),
            hosted=type(FAST)(
                ttft_median_ms=500.0,
                ttft_p99_ms=2000.0,
                inter_token_ms=(10.0, 20.0),
                error_share=0.05,
                troubles=(Trouble(begin_s=130.0, end_s=140.0),),
            ),
            targets=Targets(ttft_ms=2000.0),
            policy=UpAndDown(),
            name="up and down",
            seed=7,
            initial_replicas=1,
        )
        assert done.preempted
        figures = (done.side, done.ttft_ms, done.e2e_ms, done.lives.ready_s, done.lives.ended_s)
        prints.append(hashlib.sha256(b"".join(np.round(each.astype(np.float64), 6).tobytes() for each in figures)).hexdigest())
        prints.append(str(np.bincount(done.side, minlength=4).tolist()))
    print("\n".join(prints))


if __name__ == "__main__":
    main()
