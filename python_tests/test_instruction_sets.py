"""The operations' values by every instruction set of this machine, in one process; by the best one in test_ops.py.

Of a module that RPSTN_TUNED names, which is not what test_ops.py runs, by the best one too (make sanitize).
"""

import os

import pytest
import torch
from test_dynamic_conv2d import (  # noqa: F401
    test_both_gradients_at_once_are_right_and_have_the_bits_of_each_alone,
)
from test_ops import (  # noqa: F401  tests that run here again
    test_a_sample_does_not_depend_on_its_batch_or_on_threads,
    test_any_strides_of_inputs_and_incoming_gradients,
    test_matches_reference,
    two_threads,
)
from tuning import TUNE, Tuner

pytestmark = pytest.mark.skipif(not TUNE.exists(), reason=f"no {TUNE.name}; `make test` compiles it")


def _others() -> dict[str, int]:
    sets = Tuner(TUNE).instruction_sets() if TUNE.exists() else {"none": 0}
    best = {"DEFAULT": "baseline", "AVX2": "avx2", "AVX512": "avx512"}.get(
        torch.backends.cpu.get_cpu_capability()
    )
    return {name: choice for name, choice in sets.items() if name != best or "RPSTN_TUNED" in os.environ}


@pytest.fixture(autouse=True)
def device():
    return "cpu"


@pytest.fixture(autouse=True, params=_others().items(), ids=lambda item: item[0])
def instruction_set(request):
    tuner = Tuner(TUNE)
    name, choice = request.param
    with tuner.serving():
        tuner.module.choose({"instruction_set": choice})
        yield name
        usual_and_taken = tuner.module.asked().get("instruction_set")
    assert usual_and_taken is None or usual_and_taken[1] == choice
