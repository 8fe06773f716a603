"""The one table that a run ends with."""

import math
import statistics

COLUMNS = {"direct": "direct", "nginx": "nginx", "haproxy": "HAProxy", "gateway": "gateway"}
#: Figures of the gateway in other settings stand in its column.
GATEWAYS = ("gateway", "isolated", "thousand", "flaky")


def median(values):
    """That of those that there are."""
    there = [value for value in values if not math.isnan(value)]
    return statistics.median(there) if there else math.nan


def number(value, digits):
    return f"{value:,.{digits}f}"


def compared(figure, own, other):
    """How the target stands beside another: within each round, and then the median of those, so that a slow spell cancels out."""
    if figure.against == "ratio":
        ratio = median(a / b if b else math.nan for a, b in zip(own, other, strict=True))
        return f"× {ratio:,.2f}" if not 0 < ratio < 0.1 else f"× 1/{1 / ratio:,.0f}"
    return f"{median(a - b for a, b in zip(own, other, strict=True)):+,.{figure.digits}f}"


def rows(work, results):
    """The rows of one measurement; `results` has a list of rounds for each target."""
    for figure in work.figures:
        values = {target: [figure.of(result) for result in rounds] for target, rounds in results.items()}
        if figure.of_proxies:
            values.pop("direct", None)
        own = work.targets[-1] if work.targets[-1] in GATEWAYS else "gateway"
        told = {
            target: number(sum(rounds) if figure.is_sum else median(rounds), 0 if figure.is_sum else figure.digits)
            for target, rounds in values.items()
        }
        cells = [work.label, figure.label]
        cells += [told.get(own if target == "gateway" else target, "") for target in COLUMNS]
        compares = figure.against != "none"
        for base in ("nginx", "haproxy"):
            cells.append(compared(figure, values[own], values[base]) if compares and base in work.bases else "")
        others = [base for base in work.bases if base not in ("nginx", "haproxy")]
        beside = [f"{told[base]}" + (f"; {compared(figure, values[own], values[base])}" if compares else "") for base in others]
        cells.append(", ".join(beside))
        yield cells


def table(works, results, labels):
    head = ["work", "figure", *COLUMNS.values(), "to nginx", "to HAProxy", "beside"]
    lines = [head, ["---", "---", *["--:"] * 6, "---"]]
    for work in works:
        found = list(rows(work, results[work.name]))
        others = [base for base in work.bases if base not in ("nginx", "haproxy")]
        for cells in found:
            if others and cells[-1]:
                cells[-1] = f"{labels[others[0]]}: {cells[-1]}"
        # What it is stands in its first row alone.
        for cells in found[1:]:
            cells[0] = ""
        lines += found
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
