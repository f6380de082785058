"""What `ray up` would be asked for."""

from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


def test_ray_takes_the_cluster_file(config):
    validate_config(prepare_config(config))


def test_ray_would_refuse_a_misspelt_field(config):
    config["idle_timeout_mins"] = 5
    with pytest.raises(Exception, match="idle_timeout_mins"):
        validate_config(prepare_config(config))


def test_nothing_trains_on_the_head_and_the_dashboard_stays_local(config):
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert "RAY_AUTH_MODE=token" in start


def test_no_key_is_in_the_file(config):
    text = (ROOT / "ray_cluster.yaml").read_text().lower()
    assert not any(word in text for word in ("aws_secret", "access_key", "password"))
