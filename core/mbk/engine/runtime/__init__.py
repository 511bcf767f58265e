"""What every run stands on: its events and notices, threads, retries and leases."""
