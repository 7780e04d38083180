"""
The page of the verifier is what its drivers give when they are run.
"""

from __future__ import annotations

import pytest
from verifier.bench import COUNTS_VIEWS
from verifier.page import PAGE, make_page


def test_the_page_of_the_verifier_is_up_to_date() -> None:
    """Run scripts/verifier-page if it is not."""
    if not COUNTS_VIEWS:
        pytest.skip("views are counted by the compiled core, or from Python 3.12 on")
    assert PAGE.read_text() == make_page()


def test_the_page_has_no_line_that_differs_from_run_to_run() -> None:
    text = PAGE.read_text()
    assert not any(key in text for key in ('"pid"', '"tid"', '"t_wall"', '"seq"', "/tests/", "0x7f"))
