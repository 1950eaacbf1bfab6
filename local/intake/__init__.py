"""IoT Core's broker and registry: devices, their certificates, and who may publish what."""
