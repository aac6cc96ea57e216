"""The key management entity: store, audit, ETSI 014 service, and bridges to other key managers."""
