"""A second zoo: small networks for tasks of real and drawn images, with what each transfer between them truly reaches."""
