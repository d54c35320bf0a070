"""Answers are remembered for the very same objects, and for nothing that only looks like them."""

from spillway.api.model import Model
from spillway.api.workload import PlacementMode
from spillway.plan.place.placed import Placed
from spillway.plan.place.placement import effective_spec
from spillway.plan.same import of_the_same
from tests.unit.plan.situations import spec


class Counted:
    """A function, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ask = of_the_same(self._answer)

    def _answer(self, model: Model, name: str, share: float | None = None, *, sizes: tuple[int, ...] = ()) -> str:
        self.asked.append(model.id)
        return f"{model.id} {name} {share} {sizes}"


def test_the_same_object_is_asked_about_once() -> None:
    counted, model = Counted(), Model(id="acme/llama-8b")
    assert {counted.ask(model, "x", 0.5, sizes=(1, 2)) for _ in range(3)} == {"acme/llama-8b x 0.5 (1, 2)"}
    assert counted.asked == ["acme/llama-8b"]


def test_an_equal_object_is_asked_about_anew() -> None:
    """Whatever takes part in neither equality nor a hash may differ in it."""
    counted = Counted()
    assert counted.ask(Model(id="acme/llama-8b"), "x") == counted.ask(Model(id="acme/llama-8b"), "x")
    assert counted.asked == ["acme/llama-8b"] * 2


def test_texts_and_numbers_count_by_their_value() -> None:
    counted, model = Counted(), Model(id="acme/llama-8b")
    assert counted.ask(model, f"chat-{'engine'}", 0.5) == counted.ask(model, "chat-engine", 1 / 2)
    assert len(counted.asked) == 1
    assert {counted.ask(model, "chat-engine", share) for share in (None, 0.25)} == {
        "acme/llama-8b chat-engine None ()",
        "acme/llama-8b chat-engine 0.25 ()",
    }


def test_an_object_that_is_remembered_is_never_taken_for_a_later_one() -> None:
    """A later object may get the address of one that is gone; so whoever is remembered is not gone."""
    counted = Counted()
    assert [counted.ask(Model(id=str(number)), "x") for number in range(2000)] == [f"{number} x None ()" for number in range(2000)]


def test_a_spec_placed_alike_twice_is_one_object_and_placed_otherwise_another() -> None:
    asked = spec()
    placed = Placed(mode=PlacementMode.HYBRID, accelerator_class="l4", tensor_parallel_size=1)
    again = Placed(mode=PlacementMode.HYBRID, accelerator_class="l4", tensor_parallel_size=1)
    assert effective_spec(asked, placed) is effective_spec(asked, again)
    found = [
        effective_spec(asked, placed, starts=True),
        effective_spec(asked, Placed(mode=PlacementMode.DEDICATED, accelerator_class="l4", tensor_parallel_size=1)),
        effective_spec(asked, Placed(mode=PlacementMode.HYBRID, accelerator_class="l40s", tensor_parallel_size=1)),
        effective_spec(asked, Placed(mode=PlacementMode.HYBRID, accelerator_class="l4", tensor_parallel_size=2)),
        effective_spec(spec(servedName="other"), placed),
    ]
    assert all(each is not effective_spec(asked, placed) for each in found)
    assert [(each.placement.mode, each.dedicated.accelerators if each.dedicated else None) for each in found[1:3]] == [
        (PlacementMode.DEDICATED, ["l4"]),
        (PlacementMode.HYBRID, ["l40s"]),
    ]
