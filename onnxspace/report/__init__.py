"""Write and read results: result folders, pictures, HTML pages."""
