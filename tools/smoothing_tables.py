"""Update the tables of docs/evidence/smoothing.md from an evaluation: `pallas eval hpstm --count 24
--seconds 4 --json F`, then `python tools/smoothing_tables.py F`.

The text between `<!-- table: NAME -->` and `<!-- end -->` is replaced.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "evidence" / "smoothing.md"
METHODS = {
    "raw": "raw",
    "one_euro": "One-Euro",
    "savitzky_golay": "Savitzky–Golay",
    "kalman": "Kalman (gated, RTS)",
    "median+one_euro": "median + One-Euro",
    "median+savitzky_golay": "median + Savitzky–Golay",
    "median+kalman": "median + Kalman",
    "hpstm": "**HPSTM**",
}
ABLATIONS = {
    "ablation_full": "full, short budget",
    "ablation_no_manifold": "without the manifold",
    "ablation_no_covariance": "without the covariance",
    "hpstm": "full, as released",
}
SPLITS = ("unseen_subjects", "unseen")
CASES = [(split, lookahead) for split in SPLITS for lookahead in (0, 2, 5, 10)]
Figures = dict[tuple[str, str, str], float]


def table(figures: Figures, rows: dict[str, str], metric: str, form: str) -> str:
    """Return a table with one row per measured method, and one column per split and look-ahead."""
    lines = [
        "| method | " + " | ".join(f"{s} {n}" for s, n in CASES) + " |",
        "|---|" + "---|" * len(CASES),
    ]
    for name, shown in rows.items():
        if (name, "unseen,lookahead=0", metric) in figures:
            lines.append(
                f"| {shown} | "
                + " | ".join(
                    form.format(figures[name, f"{s},lookahead={n}", metric]) for s, n in CASES
                )
                + " |"
            )
    if len(lines) == 2:
        raise KeyError(metric)
    return "\n".join(lines)


def versus(figures: Figures) -> str:
    """Describe by how much the network is better than the best filter."""
    parts = {split: list[str]() for split in SPLITS}
    for split, n in CASES:
        case = f"{split},lookahead={n}"
        best = min(figures[name, case, "mpjpe_mm"] for name in METHODS if name != "hpstm")
        parts[split].append(f"{100 * (1 - figures['hpstm', case, 'mpjpe_mm'] / best):.0f} %")
    return (
        "Against the best tuned filter at the same look-ahead: "
        + "; ".join(f"{s} {', '.join(p)} lower" for s, p in parts.items())
        + "."
    )


def failures(figures: Figures, lookahead: int) -> str:
    """Return a table of the worst error and the recovery time."""
    methods = ["median+savitzky_golay", "kalman", "median+kalman", "hpstm"]
    names = dict.fromkeys(
        case.split(",")[-1] for name, case, metric in figures if metric == "recovery_ms"
    )
    if not names:
        raise KeyError("recovery_ms")
    lines = [
        "| failure | " + " | ".join(METHODS[m] for m in methods) + " |",
        "|---|" + "---|" * len(methods),
    ]
    for failure in names:
        case = f"unseen,lookahead={lookahead},{failure}"
        cells = (
            f"{figures[m, case, 'worst_error_mm']:.0f} / {figures[m, case, 'recovery_ms']:.0f}"
            for m in methods
        )
        lines.append(f"| {failure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def unknown(figures: Figures) -> str:
    """Describe the error of the first seconds, while the bone lengths are unknown."""
    errors = [
        f"{s} {n}: {figures['hpstm', f'{s},lookahead={n}', 'mpjpe_bones_unknown_mm']:.1f}"
        for s in SPLITS
        for n in (0, 10)
    ]
    known = figures["hpstm", "unseen", "bone_length_error_mm"]
    return (
        f"Mean error in mm while the bone lengths are unknown: {', '.join(errors)}. Then each is"
        f" known to {known:.1f} mm."
    )


def flicker(figures: Figures) -> str:
    """Describe how much the estimate of a frame changes."""
    cells = (
        f"{figures['hpstm', f'unseen,lookahead={n}', 'flicker_mm']:.1f} mm at a look-ahead of {n}"
        for n in (0, 2, 5)
    )
    return ", ".join(cells) + "."


def coverage(figures: Figures) -> str:
    """Return a table of the fraction of true positions in the ellipsoids, one row per level."""
    parts = [
        table(figures, {"hpstm": f"{level} %"}, f"coverage{level}", "{:.1%}").split("\n")
        for level in (50, 90, 95)
    ]
    return "\n".join([*parts[0][:2], *(lines[-1] for lines in parts)])


def jerk(figures: Figures) -> str:
    """Return a table of the jerk of every method and of the true motion."""
    true = table(figures, {"raw": "true"}, "jerk_true_m_s3", "{:.0f}").split("\n")[-1]
    return table(figures, METHODS, "jerk_m_s3", "{:.0f}") + "\n" + true


def ablations(figures: Figures) -> str:
    """Return a table of the measured ablations."""
    if ("ablation_full", "unseen,lookahead=0", "mpjpe_mm") not in figures:
        raise KeyError("ablation_full")
    return table(figures, ABLATIONS, "mpjpe_mm", "{:.2f}")


BONES = {name: METHODS[name] for name in ("raw", "kalman", "hpstm")} | {
    name: shown for name, shown in ABLATIONS.items() if name != "hpstm"
}
TABLES: dict[str, Callable[[Figures], str]] = {
    "error": lambda figures: table(figures, METHODS, "mpjpe_mm", "{:.1f}"),
    "versus": versus,
    "acceleration": lambda f: table(f, METHODS, "acceleration_error_m_s2", "{:.1f}"),
    "jerk": jerk,
    "bones": lambda figures: table(figures, BONES, "bone_variation_mm", "{:.3f}"),
    "coverage": coverage,
    "delay": lambda f: table(f, {"hpstm": "**HPSTM**"}, "added_delay_ms", "{:.1f}"),
    "unknown": unknown,
    "failures 0": lambda figures: failures(figures, 0),
    "failures 5": lambda figures: failures(figures, 5),
    "flicker": flicker,
    "ablations": ablations,
}


def main() -> None:
    """Update the page; a table without any measured figure is kept."""
    rows = json.loads(Path(sys.argv[1]).read_text())["rows"]
    figures = {(r["name"], r["case"], r["metric"]): r["value"] for r in rows}
    page = PAGE.read_text()
    for name, make in TABLES.items():
        try:
            text = make(figures)
        except KeyError as missing:
            print(f"table '{name}' is unchanged: {missing} was not measured")
            continue
        begin, _, rest = page.partition(f"<!-- table: {name} -->\n")
        _, end, rest = rest.partition("<!-- end -->")
        if not end:
            sys.exit(f"{PAGE}: no place for the table '{name}'")
        page = f"{begin}<!-- table: {name} -->\n{text}\n{end}{rest}"
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
