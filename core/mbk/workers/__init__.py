"""Worker processes: started on this machine, or found in a Dask cluster. What they do is the engine's."""
