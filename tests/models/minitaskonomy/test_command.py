"""Which stages the command runs."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from models.minitaskonomy.__main__ import EXTRA, STAGES, Plan, main


@pytest.mark.parametrize(
    ("named", "wanted"),
    [((), list(STAGES)), (("rank", "finetuned"), ["finetuned", "rank"]), (("renew", "page"), ["renew", "page"])],
)
def test_stages_run_in_their_order_and_renewal_where_it_is_named(
    named: tuple[str, ...], wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for stage in (*STAGES, *EXTRA):
        monkeypatch.setattr(Plan, stage, lambda _self, stage=stage: done.append(stage))
    result = CliRunner().invoke(main, list(named))
    assert result.exit_code == 0
    assert done == wanted
    assert [line.partition(":")[0] for line in result.output.splitlines()] == wanted
