"""Architecture × target under Ray Tune."""
