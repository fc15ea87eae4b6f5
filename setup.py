"""What is installed: the package, the twistd plugin and the submitctl command."""

from setuptools import find_packages, setup

setup(
    name="submitd",
    version="0.1.0",
    description="A mail submission server whose people live in LDAP",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # The plugin sits beside Twisted's own, in a folder without __init__.py
    # (one would hide Twisted itself). With the root named here, an editable
    # install puts a plain path on sys.path; without, current setuptools uses
    # an import hook, which is no directory, and twistd does not find the plugin.
    package_dir={"": "."},
    packages=[*find_packages(include=["submitd", "submitd.*"]), "twisted.plugins"],
    package_data={"submitd": ["py.typed"]},
    entry_points={"console_scripts": ["submitctl = submitd.cli.main:main"]},
    # Lower bounds are what `make oldest` runs on; the versions that are
    # shipped and tested otherwise are those of requirements/runtime.txt.
    install_requires=[
        # The authority's protocol; asked in a process that ends with its errand.
        "acme >= 5.0",
        "argon2-cffi >= 23.1",
        "attrs >= 23.2",
        # passlib 1.7.4, which names and parses the schemes, fails with bcrypt 5.
        "bcrypt >= 4.0.1, < 5",
        "cryptography >= 44",
        # Ed25519 signatures are verified with the extra's PyNaCl.
        "dkimpy[ed25519] >= 1.1.5",
        # Updates of name servers (RFC 2136).
        "dnspython >= 2.6.1",
        "idna >= 3.7",
        # Signed tokens (JWT) and their keys.
        "joserfc >= 1.6.3",
        "josepy >= 2.0",
        # Its time-outs, reconnection and binds are worked around for this version.
        "ldaptor == 21.2.0",
        "passlib == 1.7.4",
        "prometheus-client >= 0.20",
        "pyOpenSSL >= 25.0",
        "requests >= 2.32",
        "service-identity >= 24.1",
        "Twisted >= 24.11",
        "zope.interface >= 7.0",
    ],
)
