"""What every run needs: events and notices, threads, retries and leases."""
