//! Private keys as people have them: PKCS#1 and PKCS#8, with the line ends of any system, and the wrong ones.

mod inbound_support;

use aws_lc_rs::rsa::KeySize;
use inbound_support::KeyPair;
use stele_plugin_api::Secret;
use stele_wecom::config::PrivateKey;
use stele_wecom::keys::{KeyFault, KeyRing};

/// A throw-away key of 1024 bits.
const SMALL: &str = "\
-----BEGIN RSA PRIVATE KEY-----\n\
MIICXQIBAAKBgQC4BBcGgVyYmYX7ilumJSpWgsBH8wqJzLySUykGauGtWFzA2aY2\n\
xOz+Y/2h5MXAHYRqZnYCvB/Itphe54NDmDkP0P/leDao+WqhIwcD0XmeZ2s4/dN1\n\
q/5OU8231psACtI0hA/WYMADXi5b9bnZMa9jJ6vdAHYjkh+CF1bv8x2yXQIDAQAB\n\
AoGAUr2kDMzF8ee2EvCXXRGBA/0usCtcJbHlaHX0EGqmpucAbcZvsljBp3EWbmEL\n\
eeLL03vWvEwSjpFr2eCHaTFdFjhEDw9RkBXPk3snOckNdcmKw470NUvgCrNv2pJG\n\
hAJj8U4MuRtnTypgGKFEcGlShSu8Ot1ENA7X6NW5LuE+ggECQQDfQ05JBGf4IYpF\n\
hQYI5mS6ZZmOWy9aJ3OUW6OKGYmrrKaYytkpDSy8aoOPAc8Dg5luQ6x0UdP33YX9\n\
aCp2qe+9AkEA0v+PDvF8Zb/aIlK5SimqjRUTqGRBu2WVUp9gEbM0M1zX8/lYvy75\n\
7D1fh8qL9GRNyahZeCs/1aUgyFui9XAnIQJAAgNqXlAy29L5mzzi3Auv1tp5swXx\n\
fF+ktC7LX8BxNGIfMnuJz8v1nlFblFuQ0VhLduoXUQk33yFZRvq8f0tzBQJBAKUj\n\
qXb7n+4O6w4kCqs10ytajKkl1qBx0B37aPhRdpCgoNBtnnz7qlWwbz1bVJBxlMQ5\n\
A9VenDZ9aBwIRJGuNqECQQCP2F2Ra3cqUPBX/iRYurj4WnR+6nx5X5ss/iHaTyUh\n\
MP0FEOv14dGG2XEKhyAizgrscjrndOPDNy8ejMGwJOw7\n\
-----END RSA PRIVATE KEY-----\n\n";

fn ring(pems: &[(u32, String)]) -> KeyRing {
    let keys: Vec<PrivateKey> =
        pems.iter().map(|(version, pem)| PrivateKey { version: *version, pem: Secret::new(pem.clone()) }).collect();
    KeyRing::load(&keys)
}

#[test]
fn both_forms_open_what_was_sealed() {
    let pair = KeyPair::shared(1);
    let sealed = pair.seal("a random key of WeCom");
    for pem in [
        pair.pkcs1(),
        pair.pkcs8(),
        pair.pkcs1().replace('\n', "\r\n"),
        pair.pkcs8().replace('\n', "\r\n"),
        format!("\n\n{}\n", pair.pkcs8().trim_end()),
        format!("Bag Attributes\n    friendlyName: archive\n{}", pair.pkcs1()),
    ] {
        let ring = ring(&[(3, pem.clone())]);
        assert_eq!(ring.faults(), &[] as &[String], "{}", &pem[..40]);
        let opened = ring.open(Some(3), &sealed).expect("it is the right key");
        assert_eq!(&opened[..], b"a random key of WeCom");
    }
}

#[test]
fn the_version_chooses_the_key() {
    let ring = ring(&[(1, KeyPair::shared(1).pkcs8()), (2, KeyPair::shared(2).pkcs1())]);
    assert_eq!(ring.versions().collect::<Vec<_>>(), [1, 2]);
    let (old, new) = (KeyPair::shared(1).seal("old"), KeyPair::shared(2).seal("new"));
    assert_eq!(&ring.open(Some(1), &old).expect("there is this key")[..], b"old");
    assert_eq!(&ring.open(Some(2), &new).expect("there is this key")[..], b"new");
    assert_eq!(ring.open(Some(1), &new), Err(KeyFault::Closed(1)));
    assert_eq!(ring.open(Some(7), &new), Err(KeyFault::Missing(7)));
    assert_eq!(ring.open(None, &new), Err(KeyFault::Unnamed));
}

#[test]
fn the_only_key_opens_what_names_none() {
    let ring = ring(&[(4, KeyPair::shared(1).pkcs8())]);
    assert_eq!(&ring.open(None, &KeyPair::shared(1).seal("x")).expect("there is one key only")[..], b"x");
}

#[test]
fn all_failures_look_alike() {
    let ring = ring(&[(1, KeyPair::shared(1).pkcs8())]);
    let right = KeyPair::shared(1).seal("x");
    let damaged = format!("{}{}", if right.starts_with('A') { 'B' } else { 'A' }, &right[1..]);
    for sealed in ["", "!", "AAAA", &KeyPair::shared(2).seal("x"), &damaged, &right[..right.len() - 8]] {
        assert_eq!(ring.open(Some(1), sealed), Err(KeyFault::Closed(1)), "{sealed}");
    }
}

#[test]
fn unusable_keys_say_what_is_wrong_and_spare_the_others() {
    let large = KeyPair::generate(KeySize::Rsa3072).pkcs8();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (pem, part) in [
        (large.as_str(), "3072 bits"),
        (SMALL, "fewer than 2048 bits"),
        (encrypted, "pass phrase"),
        (public, "no PEM private key"),
        ("", "no PEM private key"),
        (broken, "not a valid RSA private key"),
    ] {
        let ring = ring(&[(5, pem.to_owned()), (6, KeyPair::shared(1).pkcs8())]);
        assert_eq!(ring.versions().collect::<Vec<_>>(), [6], "{part}");
        let [fault] = ring.faults() else { panic!("one key is unusable: {:?}", ring.faults()) };
        assert!(fault.contains("version 5") && fault.contains(part), "{fault}");
    }
}

#[test]
fn no_key_is_printed() {
    let pair = KeyPair::shared(1);
    let printed = format!("{:?}", ring(&[(1, pair.pkcs8())]));
    assert!(!printed.contains(&pair.pkcs8()[40..80]), "{printed}");
}
