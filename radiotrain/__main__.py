"""``python -m radiotrain`` is the same as ``radiotrain``."""

from radiotrain.cli import main

main()
