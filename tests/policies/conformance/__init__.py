"""What every family of models must keep, to be used by all the rest of the program.

A test module of a family defines the fixture `family` and takes everything from here (see
docs/adding-a-model.md); `tests/policies/test_conformance.py` does so for those that ship.
"""

import torch

from tests.policies.conformance.family import *  # noqa: F403
from tests.policies.conformance.gpu import *  # noqa: F403
from tests.policies.conformance.learning import *  # noqa: F403
from tests.policies.conformance.refusals import *  # noqa: F403
from tests.policies.conformance.sampling import *  # noqa: F403
from tests.policies.conformance.sharded import *  # noqa: F403
from tests.policies.conformance.weights import *  # noqa: F403

torch.set_num_threads(1)
