"""Heavy work of an endpoint on machines of its own, by Dask distributed."""
