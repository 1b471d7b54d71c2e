"""Any object of one add-on, called by others: `ipc.ipcserver` and `ipc.ipcclient`."""
