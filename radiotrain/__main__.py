"""``python -m radiotrain`` is the same as ``radiotrain``."""

from radiotrain.cli import main
from radiotrain.cli.step import end_with_parent

end_with_parent()
main()
