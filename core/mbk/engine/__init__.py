"""The use-cases. Knows ports, not SDKs; never prints, never exits, never reads the environment."""
