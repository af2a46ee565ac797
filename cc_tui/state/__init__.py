"""What the screens show, as plain data: no Textual, no input or output."""
