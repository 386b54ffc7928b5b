"""The report of an ablation: tables as Markdown and CSV, with charts, beside the paper's figures."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

from sgrocc_core.training.ablations.ablation import METRICS
from sgrocc_core.training.ablations.charts import curves_chart, results_chart, shares_chart
from sgrocc_core.training.ablations.comparison import paired_difference
from sgrocc_core.training.ablations.findings import TITLES, Findings, Row


def write_report(findings: Findings, facts: dict[str, Any], stem: Path) -> list[Path]:
    """Write STEM.csv, STEM.runs.csv, STEM.md and STEM.png; for walks and few labels STEM.curve.png, too.

    Args:
        findings: of the ablation.
        facts: settings of the runs, name to value, for the end of the Markdown.
        stem: path of the files without their suffix.

    Returns:
        the files.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = [stem.with_name(stem.name + suffix) for suffix in (".md", ".png", ".csv", ".runs.csv")]
    files[0].write_text(markdown(findings, facts))
    results_chart(findings).savefig(files[1])
    if findings.curves():
        files.append(stem.with_name(stem.name + ".curve.png"))
        curves_chart(findings).savefig(files[-1])
    if findings.label_shares():
        files.append(stem.with_name(stem.name + ".curve.png"))
        shares_chart(findings).savefig(files[-1])
    _write_csv(files[2], summary_rows(findings))
    _write_csv(files[3], run_rows(findings))
    return files


def summary_rows(findings: Findings) -> list[dict[str, Any]]:
    """Returns a row for each variant and figure, in percent."""
    rows = []
    for variant, key in itertools.product(findings.variants, findings.keys()):
        row = findings.row(variant, key)
        difference = row.difference
        rows.append({
            "variant": variant.name, "depth": key[0], "region": key[1], "metric": key[2], "seeds": row.value.count,
            "mean": _number(row.value.mean), "spread": _number(row.value.spread),
            "difference": "" if difference is None else _number(difference.mean),
            "difference_error": "" if difference is None else _number(difference.error),
            "clear": "" if difference is None else difference.clear, "paper": variant.paper.get(key[2], ""),
        })  # fmt: skip
    return rows


def run_rows(findings: Findings) -> list[dict[str, Any]]:
    """Returns a row for each run and figure, in percent."""
    return [
        {
            "variant": variant.name,
            "seed": seed,
            "depth": key[0],
            "region": key[1],
            "metric": key[2],
            "value": _number(value),
        }
        for variant, key in itertools.product(findings.variants, findings.keys())
        for seed, value in sorted(findings.values(variant, key).items())
    ]


def markdown(findings: Findings, facts: dict[str, Any]) -> str:
    """Returns the report as text; all figures are in percent.

    Args:
        findings: of the ablation.
        facts: see `write_report`.
    """
    ablation = findings.ablation
    repeated = findings.layout.repeated
    lines = [f"# {ablation.title}", ""]
    if ablation.note:
        lines += [ablation.note, ""]
    lines += [
        f"Mean ± sample standard deviation over the {repeated}, percent; in brackets the difference to "
        f"`{findings.reference.name}`, paired by {repeated[:-1]}, ± its standard error. \\* marks differences that are "
        "clear: 0 lies outside their 95 % interval (Student's t).",
        "",
        f"![{ablation.title}]({ablation.name}.png)",
        "",
    ]
    if findings.curves():
        text = (
            "mIoU of fused predictions of held-out walks while training, predicted depth, "
            "weights as they were (not averaged)"
        )
        lines += [f"![{text}]({ablation.name}.curve.png)", "", f"{text}.", ""]
    if findings.label_shares():
        text = "mIoU in view over the share of scenes with labels"
        lines += [f"![{text}]({ablation.name}.curve.png)", "", *_shares_tables(findings), ""]
    for source, heading in findings.layout.sources.items():
        lines += [f"## {heading}", "", *_table(findings, source), ""]
    if any(variant.paper for variant in ablation.variants):
        lines += ["## The paper's figures", "", *_paper_table(findings), "", *_orders(findings), ""]
    lines += ["## What was run", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    return "\n".join(lines)


def _table(findings: Findings, source: str) -> list[str]:
    pairs = itertools.product(findings.layout.regions, findings.layout.metrics)
    columns = [(source, region, metric) for region, metric in pairs if region != "hidden" or metric != "boundary_f1"]
    titles = findings.layout.regions
    header = [
        "variant",
        findings.layout.repeated,
        *(f"{TITLES[metric]}, {titles[region]}" for _, region, metric in columns),
    ]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---|" * (len(header) - 1)]
    for variant in findings.variants:
        rows = [findings.row(variant, key) for key in columns]
        lines.append("| " + " | ".join([f"`{variant.name}`", str(rows[0].value.count), *map(_cell, rows)]) + " |")
    return lines


def _shares_tables(findings: Findings) -> list[str]:
    """mIoU in view by method and share of labels, and as a share of the reference's, which has all labels."""
    methods, region = findings.label_shares(), next(iter(findings.layout.regions))
    shares = sorted({share for method in methods.values() for share in method})
    lines = [f"mIoU in view, percent; in brackets as a share of that of `{findings.reference.name}`."]
    for source, heading in findings.layout.sources.items():
        key = (source, region, "miou")
        whole = findings.row(findings.reference, key).value.mean
        lines += ["", "| " + " | ".join([heading.lower(), *(f"{100 * share:g} %" for share in shares)]) + " |"]
        lines += ["|---|" + "---|" * len(shares)]
        for name, variants in methods.items():
            cells = []
            for share in shares:
                value = findings.row(variants[share], key).value.mean if share in variants else None
                cells.append("" if value is None else f"{value:.1f} ({value / max(whole, 1e-9):.2f})")
            lines.append("| " + " | ".join([f"`{name}`", *cells]) + " |")
    return lines


def _cell(row: Row) -> str:
    spread = "" if row.value.spread is None else f" ± {row.value.spread:.1f}"
    text = f"{row.value.mean:.1f}{spread}"
    if row.difference is None:
        return text
    error = "" if row.difference.error is None else f" ± {row.difference.error:.1f}"
    mark = " \\*" if row.difference.clear else ""
    return f"{text} ({row.difference.mean:+.1f}{error}{mark})"


def _paper_table(findings: Findings) -> list[str]:
    ablation, first = findings.ablation, findings.reference.paper
    metrics = [metric for metric in METRICS if any(metric in variant.paper for variant in ablation.variants)]
    header = ["variant", *(TITLES[metric] for metric in metrics)]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---|" * len(metrics)]
    for variant in ablation.variants:
        cells = []
        for metric in metrics:
            value = variant.paper.get(metric)
            base = first.get(metric) if variant is not findings.reference else None
            cells.append("" if value is None else f"{value:.2f}" + ("" if base is None else f" ({value - base:+.2f})"))
        lines.append("| " + " | ".join([f"`{variant.name}`", *cells]) + " |")
    return lines


def _orders(findings: Findings) -> list[str]:
    """Pairs of variants in the paper's order and others, in the first region with predicted depth."""
    region, title = next(iter(findings.layout.regions.items()))
    lines = [f"Order of the pairs of variants, ours (predicted depth, {title}) against the paper's:", ""]
    for metric in METRICS:
        agree: list[str] = []
        unclear: list[str] = []
        against: list[str] = []
        for one, other in itertools.combinations(findings.variants, 2):
            if metric not in one.paper or metric not in other.paper:
                continue
            key = ("predicted", region, metric)
            ours = paired_difference(findings.values(other, key), findings.values(one, key))
            if ours is None:
                continue
            higher, lower = (other, one) if ours.mean > 0 else (one, other)
            same = higher.paper[metric] >= lower.paper[metric]
            text = f"`{higher.name}` above `{lower.name}`"
            if ours.clear:
                (agree if same else against).append(text)
            else:
                unclear.append(f"{text} ({'same' if same else 'other'} way)")
        if agree or unclear or against:
            parts = [
                ("clearly as in the paper", agree),
                ("clearly the other way round", against),
                ("within the spread", unclear),
            ]
            lines.append(
                f"- {TITLES[metric]}: "
                + "; ".join(f"{name}: {', '.join(pairs) or 'none'}" for name, pairs in parts)
                + "."
            )
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
