"""What both protocols' answers say."""

import re

TEXT = "Grüße aus dem Fjord"
PIECES = ["Grüße ", "aus dem", " Fjord"]
#: What a verification asks to be joined: two halves whose middle is a digit. Nothing else in the question has digits.
HALF = re.compile(r"\b[A-Z2-9][2-9][A-Z2-9]\b")

#: What the tool is called with.
TOWNS = ["Tromsø", "Bodø"]


def pieces_of(body):
    """The code that a verification asks for, else the usual text."""
    messages = body.get("messages", [])
    # A verification is one short question. Images, which could hold anything, are not searched.
    if len(messages) != 1 or not isinstance(messages[0]["content"], str):
        return PIECES
    halves = HALF.findall(messages[0]["content"])
    return halves if len(halves) == 2 else PIECES
