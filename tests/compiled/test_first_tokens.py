"""First tokens under load: what a plan says of a replica, beside the replica as it is simulated."""

from dataclasses import replace

import pytest

from benchmarks.capacity.first_tokens import SETTINGS, Setting, missed, row, table

CHAT_ON_H200, CHAT_ON_A100 = SETTINGS[0], SETTINGS[9]


@pytest.mark.parametrize("setting", [CHAT_ON_H200, CHAT_ON_A100], ids=lambda setting: setting.label)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_first_token_comes_about_as_late_as_planned(setting: Setting, share: float) -> None:
    found = row(setting, share=share, requests=20_000)
    for each in (*found.first_ms, found.pace_ms, found.running):
        assert abs(each.error_percent) < 25
    assert table([found])[2].startswith(f"| {found.setting.label} |")


def test_a_bar_is_missed_where_first_tokens_are_told_far_too_early() -> None:
    found = row(CHAT_ON_A100, share=0.5, requests=2000)
    told = replace(found, first_ms=[replace(each, told=each.seen) for each in found.first_ms])
    early = replace(found, first_ms=[replace(each, told=each.seen / 2) for each in found.first_ms])
    assert missed([told]) == []
    assert len(missed([early])) == 2
