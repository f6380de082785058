"""What is shown of a run while it goes on."""

from radiotrain.logs.run_log import RunLog, check_show

__all__ = ["RunLog", "check_show"]
