"""What Prometheus and Grafana are given: files that parse, and numbers that somebody exports."""

import json
import re
from pathlib import Path

import pytest
import yaml
from ray.dashboard.modules.metrics.dashboards.default_dashboard_panels import DEFAULT_GRAFANA_ROWS
from ray.dashboard.modules.metrics.dashboards.train_dashboard_panels import TRAIN_GRAFANA_ROWS

from cluster.metrics import GAUGES

FOLDER = Path(__file__).parents[2] / "cluster" / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboards" / "radiotrain.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def metrics_in(expression):
    """The metrics of a PromQL expression: what is neither in {…}, nor a label of by (…)."""
    without = re.sub(r"\{[^}]*\}|\b(by|without|on|ignoring)\s*\([^)]*\)", " ", expression)
    return set(re.findall(r"\b(?:ray|autoscaler)_\w+", without))


def known_metrics():
    """What Ray's own dashboards show, and our gauges under the names that Ray gives them."""
    rays = {
        name
        for row in (*DEFAULT_GRAFANA_ROWS, *TRAIN_GRAFANA_ROWS)
        for panel in row.panels
        for target in panel.targets
        for name in metrics_in(target.expr.replace("{{", "{").replace("}}", "}"))
    }
    return rays | {f"ray_{name}" for name in GAUGES}


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yml")), ids=lambda path: path.name)
def test_yaml_files_parse(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_prometheus_reads_where_ray_writes():
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["file_sd_configs"] == [
        {"files": ["/tmp/ray/prom_metrics_service_discovery.json"]}  # the head's default
    ]


def test_grafana_is_for_this_machine_and_nobody_changes_it():
    settings = (FOLDER / "grafana" / "grafana.ini").read_text()
    for line in ("http_addr = 127.0.0.1", "disable_initial_admin_creation = true", "= Viewer"):
        assert line in settings


def test_dashboard_can_be_found_again():
    assert DASHBOARD["uid"] == "radiotrain"
    assert DASHBOARD["title"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_ask_a_datasource_for_metrics_that_exist(panel):
    assert panel["title"]
    assert panel["description"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]
    for target in panel["targets"]:
        asked_for = metrics_in(target["expr"])
        assert asked_for
        assert asked_for <= known_metrics()


def test_variables_are_filled_from_metrics_that_exist():
    queries = [v["definition"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    assert queries
    for query in queries:
        assert metrics_in(query) <= known_metrics()


def test_every_gauge_of_ours_has_a_panel():
    shown = {name for p in PANELS for t in p["targets"] for name in metrics_in(t["expr"])}
    assert {f"ray_{name}" for name in GAUGES} <= shown


def test_panels_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
