"""What a sweep will cost on GPUs that are not there yet, and how to spread it over them."""
