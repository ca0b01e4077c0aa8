"""Charts as Vega-Lite has them: JSON, in which names of a run are values, never code or names of fields."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exrep_hf.report.verdict import is_oracle

Spec = dict[str, Any]

# Points of a curve; more are not to be seen.
_POINTS = 300
_COMPONENTS = 8


def run_charts(results: Mapping[str, Any], key: str) -> dict[str, Spec]:
    """Return the charts of one run that have something to show.

    Args:
        results: the content of `results.json`.
        key: what the charts' names begin with.
    """
    published = results["published"]
    found = {
        f"{key}-differences": _differences(results),
        **{f"{key}-curve{number}": spec for number, spec in enumerate(_curves(results))},
        f"{key}-reliability": _reliability(published.get("bins") or ()),
        f"{key}-confusion": _confusion(published.get("confusion") or {}),
    }
    return {name: spec for name, spec in found.items() if spec is not None}


def comparing_charts(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Spec]:
    """Return the share of the gap against the number of public images, where runs differ in it."""
    measures = {"data_gap_recovered": "data gap recovered, %", "gap_recovered": "gap recovered, %"}
    for measure, title in measures.items():
        rows = [
            {"arm": arm, "run": run, "images": results["dataset"]["num_public"], **_with_deviation(outcome[measure])}
            for run, results in runs.items()
            for arm, outcome in results["arms"].items()
            if outcome.get(measure)
        ]
        if len({row["images"] for row in rows}) > 1:
            return {"sizes": _sizes(rows, title)}
    return {}


def _with_deviation(share: Mapping[str, Any]) -> dict[str, float]:
    deviation = share["std"] or 0.0
    return {"share": share["mean"], "low": share["mean"] - deviation, "high": share["mean"] + deviation}


def _sizes(rows: Sequence[Mapping[str, Any]], title: str) -> Spec:
    across = {
        "field": "images",
        "type": "quantitative",
        "title": "public images",
        "scale": {"type": "log", "nice": False, "padding": 20},
        "axis": {"values": sorted({row["images"] for row in rows}), "format": "d", "grid": False},
    }
    colour = _colour(row["arm"] for row in rows)
    up: Spec = {"type": "quantitative", "title": title, "scale": {"zero": False}}
    return _chart(
        rows,
        320,
        layer=[
            {
                "mark": {"type": "line", "point": True},
                "encoding": {
                    "x": across,
                    "y": {"field": "share", **up},
                    "color": colour,
                    "tooltip": _tooltip("arm", "run", "images", "share"),
                },
            },
            {
                "mark": {"type": "rule", "opacity": 0.5},
                "encoding": {"x": across, "y": {"field": "low", **up}, "y2": {"field": "high"}, "color": colour},
            },
        ],
    )


def _differences(results: Mapping[str, Any]) -> Spec | None:
    rows = [
        {
            "arm": name,
            "kind": "saw the private images" if is_oracle(name, results) else "control",
            "points": 100 * found["mean"],
            "low": None if found["low"] is None else 100 * found["low"],
            "high": None if found["high"] is None else 100 * found["high"],
        }
        for name, found in (results.get("differences") or {}).items()
    ]
    if not rows:
        return None
    down = {"field": "arm", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 150}}
    across: Spec = {"type": "quantitative", "title": f"{results['published']['arm']} above it, points"}
    colour = {"field": "kind", "type": "nominal", "title": None, "legend": {"orient": "top"}}
    return _chart(
        rows,
        28 * len(rows) + 20,
        layer=[
            {"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": {"x": {"datum": 0, "type": "quantitative"}}},
            {
                "mark": {"type": "rule", "size": 2},
                "encoding": {
                    "y": down,
                    "x": {"field": "low", **across},
                    "x2": {"field": "high"},
                    "color": colour,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {
                    "y": down,
                    "x": {"field": "points", **across},
                    "color": colour,
                    "tooltip": _tooltip("arm", "points", "low", "high"),
                },
            },
        ],
    )


def _curves(results: Mapping[str, Any]) -> list[Spec]:
    """Return a chart for the total and for each component: their scales differ, and an arm may lack some."""
    arms = results["arms"]
    logged = [
        (name, str(run["seed"]), entry)
        for name, arm in arms.items()
        for run in arm["runs"]
        for entry in _thinned(run.get("history") or ())
    ]
    known = {key for _, _, entry in logged for key in entry}
    components = sorted(key for key in known if key.startswith("loss_"))[:_COMPONENTS]
    charts = []
    for key in ("loss", *components, "eval_accuracy"):
        rows = [
            {"arm": arm, "seed": seed, "step": entry["step"], "value": entry[key]}
            for arm, seed, entry in logged
            if key in entry
        ]
        # A curve of one point is none.
        if len({row["step"] for row in rows}) > 1:
            charts.append(_curve(rows, "total loss" if key == "loss" else key.removeprefix("loss_"), arms))
    return charts


def _curve(rows: Sequence[Mapping[str, Any]], title: str, arms: Iterable[str]) -> Spec:
    return _chart(
        rows,
        210,
        title=title,
        mark={"type": "line", "strokeWidth": 1.5},
        params=[{"name": "arms", "select": {"type": "point", "fields": ["arm"]}, "bind": "legend"}],
        encoding={
            "x": {"field": "step", "type": "quantitative", "axis": {"grid": False, "tickCount": 5}},
            "y": {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}},
            "color": _colour(arms),
            "detail": {"field": "seed"},
            "opacity": {"condition": {"param": "arms", "value": 0.9}, "value": 0.08},
            "tooltip": _tooltip("arm", "seed", "step", "value"),
        },
    )


def _thinned(history: Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    every = -(-len(history) // _POINTS) or 1
    # Evaluations are few, and each counts.
    return (entry for at, entry in enumerate(history) if at % every == 0 or "eval_loss" in entry)


def _reliability(bins: Sequence[Mapping[str, Any]]) -> Spec | None:
    rows = [
        {"from": at / len(bins), "to": (at + 1) / len(bins), **{name: each[name] for name in ("accuracy", "count")}}
        for at, each in enumerate(bins)
        if each["count"]
    ]
    if not rows:
        return None
    ends = {"scale": {"domain": [0, 1]}, "type": "quantitative"}
    return _chart(
        rows,
        240,
        layer=[
            {
                "mark": {"type": "bar", "tooltip": True},
                "encoding": {
                    "x": {"field": "from", "title": "confidence", **ends},
                    "x2": {"field": "to"},
                    "y": {"field": "accuracy", "title": "accuracy", **ends},
                    "y2": {"datum": 0},
                    "opacity": {
                        "field": "count",
                        "type": "quantitative",
                        "title": "images",
                        "legend": {"orient": "top"},
                    },
                    "tooltip": _tooltip("from", "to", "accuracy", "count"),
                },
            },
            {
                "data": {"values": [{"at": 0}, {"at": 1}]},
                "mark": {"type": "line", "strokeDash": [4, 4], "color": "grey", "strokeWidth": 1.5},
                "encoding": {"x": {"field": "at", **ends}, "y": {"field": "at", **ends}},
            },
        ],
    )


def _confusion(counts: Mapping[str, Mapping[str, int]]) -> Spec | None:
    rows = [
        {"label": label, "answer": answer, "images": images, "right": answer == label}
        for label, answers in counts.items()
        for answer, images in answers.items()
    ]
    if not rows:
        return None
    base = {
        "y": {"field": "label", "type": "nominal", "sort": None, "title": "true class", "axis": {"labelLimit": 110}},
        "x": {
            "field": "answer",
            "type": "nominal",
            "sort": None,
            "title": "answer",
            "axis": {"labelAngle": -45, "labelLimit": 110},
        },
    }
    return _chart(
        rows,
        30 * len(counts),
        layer=[
            {
                # What is right is told, and left out of the colours: it would outshine the mistakes.
                "transform": [{"filter": {"field": "right", "equal": False}}],
                "mark": "rect",
                "encoding": {
                    **base,
                    "color": {
                        "field": "images",
                        "type": "quantitative",
                        "scale": {"scheme": "oranges", "domainMin": 0},
                        "legend": None,
                    },
                    "tooltip": _tooltip("label", "answer", "images"),
                },
            },
            {
                "transform": [{"filter": {"field": "right", "equal": False}}],
                "mark": {"type": "text", "color": "black", "fontSize": 10},
                "encoding": {**base, "text": {"field": "images", "type": "quantitative"}},
            },
            {
                "transform": [{"filter": {"field": "right", "equal": True}}],
                "mark": {"type": "text", "fontSize": 10, "fontWeight": "bold", "color": "grey"},
                "encoding": {**base, "text": {"field": "images", "type": "quantitative"}},
            },
        ],
    )


def _colour(arms: Iterable[str]) -> Spec:
    names = list(dict.fromkeys(arms))
    return {
        "field": "arm",
        "type": "nominal",
        "title": None,
        "scale": {"domain": names, "scheme": "tableau10" if len(names) <= 10 else "tableau20"},
        "legend": {"orient": "bottom", "columns": 2, "labelLimit": 130, "symbolLimit": 40},
    }


def _tooltip(*fields: str) -> list[Spec]:
    numbers = {"points", "low", "high", "share", "value", "accuracy", "from", "to"}
    return [
        {"field": name, "type": "quantitative", "format": ".4~g"} if name in numbers else {"field": name}
        for name in fields
    ]


def _chart(rows: Sequence[Mapping[str, Any]], height: int, **parts: Any) -> Spec:
    return {"data": {"values": list(rows)}, "width": "container", "height": height, **parts}
