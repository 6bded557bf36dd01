"""What people see: live panel, report, top."""
