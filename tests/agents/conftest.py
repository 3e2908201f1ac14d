"""Networks that several test files use."""

from __future__ import annotations

import pytest

from agents.network import RELONetwork
from tests.agents.network.seeding import seeded_network


@pytest.fixture(scope="session")
def t256() -> RELONetwork:
    """The t256 network with name-seeded weights; not to be changed."""
    return seeded_network("t256")
