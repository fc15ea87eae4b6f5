"""What a mail is: values without IO. Everything above imports from here."""
