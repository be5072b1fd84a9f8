"""Everything that knows Qt and napari."""
