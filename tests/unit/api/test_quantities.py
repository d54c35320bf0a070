"""Kubernetes quantities as numbers."""

import pytest

from spillway.api.quantities import amount


@pytest.mark.parametrize(
    ("quantity", "number"), [("4", 4), ("500m", 0.5), ("1.5Gi", 1.5 * 1024**3), ("128Mi", 128 * 1024**2), ("2k", 2000), ("1E", 10**18)]
)
def test_a_quantity_is_the_number_that_kubernetes_takes_it_for(quantity: str, number: float) -> None:
    assert float(amount(quantity)) == number


@pytest.mark.parametrize("text", ["", "Gi", "1GiB", "-1", "1e3", "1 Gi"])
def test_what_is_no_quantity_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        amount(text)
