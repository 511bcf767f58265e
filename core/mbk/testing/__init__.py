"""What a storage plugin's author tests with: the conformance kit and a reference storage in memory."""
