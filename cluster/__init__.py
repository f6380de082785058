"""The same training and sweep on many machines: Ray Train, Ray Tune, job scripts."""
