"""What exporters write in their own ways, brought to one form: one file for each family, one pass each."""
