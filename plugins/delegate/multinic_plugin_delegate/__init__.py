"""delegate: any CNI main plugin executable, once per chosen NIC."""
