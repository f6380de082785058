"""What reads, writes and trains on an object store: a real server, and weather on the way to it."""
