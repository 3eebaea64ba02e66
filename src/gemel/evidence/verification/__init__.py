"""Is it solved right: orders, grids, tolerances, conservation, and studies made elsewhere."""
