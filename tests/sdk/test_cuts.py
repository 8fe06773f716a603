"""A stream that is cut at each of its events: before the first content nobody sees it, behind that the SDK raises, and never is
a short answer taken for a whole one."""

import pytest

from sdks import CALLS, SDKS, asking
from test_calls import shown
from upstream import CLOSES_AFTER, ENDS_AFTER

MANNERS = ["streamed", "async streamed"]
ROWS = [
    pytest.param(sdk, name, manner, id=f"{sdk} {name} {manner}")
    for sdk, calls in CALLS.items()
    for name, call in calls.items()
    for manner in MANNERS
    if not call.get("only_plain")
]


@pytest.fixture
def settings():
    """However many streams are cut, nobody is isolated."""
    return "[breaker]\nfailure_threshold = 100_000\nmin_requests = 100_000\n"


def what_became_of(ask_once, sdk, first, second):
    """Whether a cut of the first upstream's stream was hidden by the second, told, or of no consequence."""
    asked = len(second.requests)
    try:
        answer = ask_once()
    except SDKS[sdk].APIError as error:
        assert len(second.requests) == asked, "nothing may be asked again behind the first content"
        assert "Trying again may help" in str(error), error
        return "told"
    speaker = first if len(second.requests) == asked else second
    assert answer == shown(speaker.requests[-1]["answer"])
    return "whole" if speaker is first else "hidden"


@pytest.mark.parametrize("how", [CLOSES_AFTER, ENDS_AFTER])
@pytest.mark.parametrize(("sdk", "name", "manner"), ROWS)
def test_wherever_a_stream_is_cut_the_sdk_shows_it_whole_or_raises(gateway, sdk, name, manner, how, first, second):
    became = []
    with asking(gateway, sdk, CALLS[sdk][name], manner) as ask_once:
        ask_once()
        events = len(first.requests[0]["answer"])
        for point in range(events + 1):
            first.behaviour = f"{how}{point}"
            became.append(what_became_of(ask_once, sdk, first, second))
    order = ["hidden", "told", "whole"]
    assert became == sorted(became, key=order.index), became
    assert set(became) == set(order), became
    assert became[0] == "hidden" and became[-1] == "whole"
    assert gateway.settled()["leaks"] == 0
