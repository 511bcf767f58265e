"""Copies that are made in other processes, on this machine or on others."""
