"""How many examples a law is tried with."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings


def law(examples: int) -> settings:
    """Every run on CI tries the same examples."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=bool(os.environ.get("CI")),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
