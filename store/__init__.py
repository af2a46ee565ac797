"""Ground floor: the data model, the journal, the Parquet lake, the DuckDB catalogue and the labels."""
