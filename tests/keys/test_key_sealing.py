"""KEKs in files and in SoftHSM2: what they seal opens in its place alone; who is unsafe goes."""

import os
import subprocess
import sys
import threading

import pytest
from store_pairs import TwoStores, keyring

from bellrelay.keys.kek_file import FileKek, write_kek_file
from bellrelay.keys.sealing import (
    Keyring,
    SealBroken,
    SealerUnavailable,
    blob_header,
    split_blob,
)
from bellrelay.keys.store_errors import StoreError
from bellrelay.keys.wiping import wipe, wiped_after
from bellrelay.service.private_file import UnsafeMode

PLAIN = bytes(range(32))


@pytest.fixture(params=["file", pytest.param("pkcs11", marks=pytest.mark.needs_server)])
def kek(request, tmp_path):
    if request.param == "file":
        write_kek_file(tmp_path / "kek")
        return FileKek(tmp_path / "kek")
    return hsm_kek(request.getfixturevalue("softhsm"))


def hsm_kek(softhsm, label=None):
    from bellrelay.keys.kek_pkcs11 import Pkcs11Kek, create_pkcs11_kek, read_pin

    label = label or f"kek-{os.urandom(4).hex()}"
    create_pkcs11_kek(softhsm.module, softhsm.token_label, softhsm.pin, label)
    return Pkcs11Kek(softhsm.module, softhsm.token_label, lambda: read_pin(softhsm.pin_file), label)


class TestSealing:
    def test_opens_what_it_sealed(self, kek):
        for plain in (b"", b"x", PLAIN, os.urandom(1000)):
            opened = kek.unseal(kek.seal(plain, b"place"), b"place")
            assert isinstance(opened, bytearray)
            assert opened == plain

    def test_the_same_twice_looks_different(self, kek):
        assert kek.seal(PLAIN, b"") != kek.seal(PLAIN, b"")
        assert PLAIN not in kek.seal(PLAIN, b"")

    def test_opens_in_its_place_alone(self, kek):
        blob = kek.seal(PLAIN, b"place")
        with pytest.raises(SealBroken):
            kek.unseal(blob, b"elsewhere")
        assert kek.unseal(blob, b"place") == PLAIN

    def test_any_change_is_seen(self, kek):
        blob = kek.seal(PLAIN, b"place")
        head = len(blob_header(kek.kek_id))
        # Version and lengths, nonce, ciphertext, tag: a bit of each.
        for at in (0, 1, head, head + 11, head + 12, len(blob) - 17, len(blob) - 1):
            changed = bytearray(blob)
            changed[at] ^= 1
            with pytest.raises(SealBroken):
                kek.unseal(bytes(changed), b"place")
        for end in (0, 1, head, len(blob) - 1):
            with pytest.raises(SealBroken):
                kek.unseal(blob[:end], b"place")
        assert kek.unseal(blob, b"place") == PLAIN

    def test_from_many_threads(self, kek):
        faults = []

        def work(n):
            try:
                for i in range(50):
                    place = f"{n} {i}".encode()
                    assert kek.unseal(kek.seal(place * 3, place), place) == place * 3
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults


class TestKekFile:
    def test_is_private(self, tmp_path):
        path = tmp_path / "kek"
        write_kek_file(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert len(path.read_bytes()) == 32
        with pytest.raises(FileExistsError):
            write_kek_file(path)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
    def test_others_may_not_read_it(self, tmp_path, mode):
        path = tmp_path / "kek"
        write_kek_file(path)
        path.chmod(mode)
        with pytest.raises(UnsafeMode, match="chmod"):
            FileKek(path)
        path.chmod(0o400)
        FileKek(path)

    def test_what_is_no_kek(self, tmp_path):
        with pytest.raises(SealerUnavailable, match="no KEK"):
            FileKek(tmp_path / "kek")
        write_kek_file(tmp_path / "kek")
        (tmp_path / "kek").write_bytes(bytes(31))
        with pytest.raises(SealerUnavailable, match="31 bytes"):
            FileKek(tmp_path / "kek")
        (tmp_path / "link").symlink_to(tmp_path / "kek")
        with pytest.raises(UnsafeMode):
            FileKek(tmp_path / "link")

    def test_name_tells_kek_from_kek(self, tmp_path):
        for name in ("one", "two"):
            write_kek_file(tmp_path / name)
        one, two = FileKek(tmp_path / "one"), FileKek(tmp_path / "two")
        assert one.kek_id != two.kek_id
        assert FileKek(tmp_path / "one").kek_id == one.kek_id
        assert (tmp_path / "one").read_bytes().hex() not in one.kek_id
        with pytest.raises(SealBroken):
            two.unseal(one.seal(PLAIN, b""), b"")


class TestKeyring:
    def test_opens_under_every_kek_and_seals_under_one(self, tmp_path):
        for name in ("old", "new"):
            write_kek_file(tmp_path / name)
        old, new = FileKek(tmp_path / "old"), FileKek(tmp_path / "new")
        ring = Keyring(new, [old])
        assert ring.unseal(old.seal(PLAIN, b"a"), b"a") == PLAIN
        assert split_blob(ring.seal(PLAIN, b"a"))[0] == new.kek_id == ring.kek_id
        assert ring.kek_ids == {old.kek_id, new.kek_id}
        with pytest.raises(SealerUnavailable, match="not configured"):
            Keyring(new).unseal(old.seal(PLAIN, b"a"), b"a")

    def test_wipes(self):
        buffer = bytearray(PLAIN)
        wipe(buffer)
        assert buffer == bytes(32)
        other = bytearray(PLAIN)
        with pytest.raises(KeyError), wiped_after(other):
            raise KeyError
        assert other == bytes(32)


@pytest.mark.needs_server
class TestPkcs11:
    def test_kek_never_leaves_the_token(self, softhsm):
        import pkcs11

        kek = hsm_kek(softhsm, "stays")
        token = pkcs11.lib(str(softhsm.module)).get_token(token_label=softhsm.token_label)
        with token.open() as session:
            key = session.get_key(label="stays")
            with pytest.raises(pkcs11.exceptions.AttributeSensitive):
                key[pkcs11.Attribute.VALUE]
        kek.close()

    def test_a_kek_that_could_leave_is_refused(self, softhsm):
        import pkcs11

        from bellrelay.keys.kek_pkcs11 import Pkcs11Kek

        token = pkcs11.lib(str(softhsm.module)).get_token(token_label=softhsm.token_label)
        try:
            session = token.open(rw=True, user_pin=softhsm.pin)
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            session = token.open(rw=True)
        with session:
            session.generate_key(
                pkcs11.KeyType.AES,
                256,
                label="loose",
                store=True,
                template={pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: False},
            )
        with pytest.raises(SealerUnavailable, match="give this KEK away"):
            Pkcs11Kek(softhsm.module, softhsm.token_label, lambda: softhsm.pin, "loose")

    def test_what_is_not_there(self, softhsm, tmp_path):
        from bellrelay.keys.kek_pkcs11 import Pkcs11Kek, create_pkcs11_kek

        def kek(module=softhsm.module, token=softhsm.token_label, label="none"):
            return Pkcs11Kek(module, token, lambda: softhsm.pin, label)

        with pytest.raises(SealerUnavailable, match="no key 'none'"):
            kek()
        with pytest.raises(SealerUnavailable, match="no token 'none'"):
            kek(token="none")
        with pytest.raises(SealerUnavailable, match="nowhere"):
            kek(module=tmp_path / "nowhere.so")
        hsm_kek(softhsm, "twice").close()
        with pytest.raises(SealerUnavailable, match="already"):
            create_pkcs11_kek(softhsm.module, softhsm.token_label, softhsm.pin, "twice")

    def test_a_wrong_pin(self, softhsm):
        # In a process of its own: who is logged in is so for the whole process.
        hsm_kek(softhsm, "pinned").close()
        program = (
            "import sys; from pathlib import Path\n"
            "from bellrelay.keys.kek_pkcs11 import Pkcs11Kek\n"
            "Pkcs11Kek(Path(sys.argv[1]), sys.argv[2], lambda: '0000', 'pinned')"
        )
        result = subprocess.run(
            [sys.executable, "-c", program, softhsm.module, softhsm.token_label],
            capture_output=True,
            text=True,
        )
        assert "SealerUnavailable" in result.stderr
        assert "PinIncorrect" in result.stderr
        assert "0000" not in result.stderr.splitlines()[-1]

    def test_a_lost_session_is_opened_again(self, softhsm):
        kek = hsm_kek(softhsm)
        blob = kek.seal(PLAIN, b"place")
        kek._session.close()
        assert kek.unseal(blob, b"place") == PLAIN
        kek.close()
        assert kek.unseal(blob, b"place") == PLAIN

    def test_a_broken_module_is_no_broken_seal(self, softhsm):
        kek = hsm_kek(softhsm, "goes-away")
        blob = kek.seal(PLAIN, b"place")
        import pkcs11

        token = pkcs11.lib(str(softhsm.module)).get_token(token_label=softhsm.token_label)
        with token.open(rw=True) as session:
            session.get_key(label="goes-away").destroy()
        with pytest.raises(SealerUnavailable):
            kek.unseal(blob, b"place")

    def test_pin_files_are_private(self, softhsm):
        from bellrelay.keys.kek_pkcs11 import read_pin

        assert read_pin(softhsm.pin_file) == softhsm.pin
        softhsm.pin_file.chmod(0o640)
        try:
            with pytest.raises(UnsafeMode):
                read_pin(softhsm.pin_file)
        finally:
            softhsm.pin_file.chmod(0o600)

    def test_another_kek_of_the_same_name_costs_no_key(self, softhsm, tmp_path):
        """The store would take every blob for broken, and revoke it."""
        import pkcs11

        ring = Keyring(hsm_kek(softhsm, "swapped"))
        with TwoStores(tmp_path) as two:
            two.close()
            two.urls = tuple(str(tmp_path / f"hsm-{i}.sqlite") for i in range(2))
            two.open(keyrings=(ring, keyring(tmp_path, "b")))
            two.block()
            two.give()
            two.close()
            token = pkcs11.lib(str(softhsm.module)).get_token(token_label=softhsm.token_label)
            with token.open(rw=True) as session:
                session.get_key(label="swapped").destroy()
            with pytest.raises(StoreError, match="not the KEK that it was"):
                two.open(keyrings=(Keyring(hsm_kek(softhsm, "swapped")), None))
