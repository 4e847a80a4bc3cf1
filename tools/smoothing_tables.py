"""The tables of docs/evidence/smoothing.md from an evaluation: `pallas eval hpstm --count 24
--seconds 4 --json F`, then `python tools/smoothing_tables.py F`.

Each stands between `<!-- table: NAME -->` and `<!-- end -->`; what is between them is replaced.
"""

import json
import sys
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
CASES = [(split, lookahead) for split in ("seen", "unseen") for lookahead in (0, 2, 5, 10)]
Figures = dict[tuple[str, str, str], float]


def table(figures: Figures, rows: dict[str, str], metric: str, form: str) -> str:
    """One row a method, one column a split and look-ahead; methods that were not measured are left
    out.
    """
    lines = [
        "| method | " + " | ".join(f"{s} {n}" for s, n in CASES) + " |",
        "|---|" + "---|" * len(CASES),
    ]
    for name, shown in rows.items():
        if (name, "seen,lookahead=0", metric) in figures:
            lines.append(
                f"| {shown} | "
                + " | ".join(
                    form.format(figures[name, f"{s},lookahead={n}", metric]) for s, n in CASES
                )
                + " |"
            )
    return "\n".join(lines)


def versus(figures: Figures) -> str:
    """How far below the best filter the network is."""
    parts = {"seen": list[str](), "unseen": list[str]()}
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
    """Worst error and time of recovery."""
    methods = ["median+savitzky_golay", "kalman", "median+kalman", "hpstm"]
    names = dict.fromkeys(
        case.split(",")[-1] for name, case, metric in figures if metric == "recovery_ms"
    )
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


def tables(figures: Figures) -> dict[str, str]:
    """By the name in the page."""
    only = {"hpstm": "**HPSTM**"}
    bones = {name: METHODS[name] for name in ("raw", "kalman", "hpstm")} | {
        n: s for n, s in ABLATIONS.items() if n != "hpstm"
    }
    coverage = [
        table(figures, {"hpstm": f"{level} %"}, f"coverage{level}", "{:.1%}")
        for level in (50, 90, 95)
    ]
    unknown = [
        f"{s} {n}: {figures['hpstm', f'{s},lookahead={n}', 'mpjpe_bones_unknown_mm']:.1f}"
        for s in ("seen", "unseen")
        for n in (0, 10)
    ]
    return {
        "error": table(figures, METHODS, "mpjpe_mm", "{:.1f}"),
        "versus": versus(figures),
        "acceleration": table(figures, METHODS, "acceleration_error_m_s2", "{:.1f}"),
        "jerk": (
            table(figures, METHODS, "jerk_m_s3", "{:.0f}")
            + "\n"
            + table(figures, {"raw": "true"}, "jerk_true_m_s3", "{:.0f}").split("\n")[-1]
        ),
        "bones": table(figures, bones, "bone_variation_mm", "{:.3f}"),
        "coverage": "\n".join(
            [*coverage[0].split("\n")[:2], *(text.split("\n")[-1] for text in coverage)]
        ),
        "delay": table(figures, only, "added_delay_ms", "{:.1f}"),
        "unknown": (
            f"Mean error in mm while the bone lengths are unknown: {', '.join(unknown)}. Then each"
            f" is known to {figures['hpstm', 'unseen', 'bone_length_error_mm']:.1f} mm."
        ),
        "failures 0": failures(figures, 0),
        "failures 5": failures(figures, 5),
        "flicker": (
            ", ".join(
                f"{figures['hpstm', f'unseen,lookahead={n}', 'flicker_mm']:.1f} mm at a look-ahead"
                f" of {n}"
                for n in (0, 2, 5)
            )
            + "."
        ),
        "ablations": table(figures, ABLATIONS, "mpjpe_mm", "{:.2f}"),
    }


def main() -> None:
    """Fill the page."""
    rows = json.loads(Path(sys.argv[1]).read_text())["rows"]
    page = PAGE.read_text()
    for name, text in tables(
        {(r["name"], r["case"], r["metric"]): r["value"] for r in rows}
    ).items():
        begin, _, rest = page.partition(f"<!-- table: {name} -->\n")
        _, end, rest = rest.partition("<!-- end -->")
        if not end:
            sys.exit(f"{PAGE}: no place for the table '{name}'")
        page = f"{begin}<!-- table: {name} -->\n{text}\n{end}{rest}"
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
