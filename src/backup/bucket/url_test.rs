use super::*;

fn parse(text: &str) -> Result<BucketUrl, BadUrl> {
    text.parse()
}

#[test]
fn a_url_is_shown_as_it_was_written() {
    for text in [
        "s3://backups",
        "s3://backups/team-a/set_1",
        "s3://backups?region=eu-central-1",
        "s3://b.c/p?region=auto&endpoint=https://s3.example.net&path_style=true",
        "s3://backups?endpoint=http://127.0.0.1:9000&path_style=false",
        "s3://backups?endpoint=https://example.net/s3",
        "file:///var/backups",
        "file:///with%20space",
    ] {
        let url = parse(text).unwrap();
        assert_eq!(url.to_string(), text);
        assert_eq!(parse(&url.to_string()).unwrap(), url);
        let json = serde_json::to_string(&url).unwrap();
        assert_eq!(json, format!("{text:?}"));
        assert_eq!(serde_json::from_str::<BucketUrl>(&json).unwrap(), url);
    }
}

#[test]
fn what_makes_no_difference_is_left_out() {
    for (text, shown) in [
        ("s3://backups/", "s3://backups"),
        ("s3://backups/a/", "s3://backups/a"),
        (
            "s3://b?endpoint=http%3A%2F%2F127.0.0.1%3A9000%2F",
            "s3://b?endpoint=http://127.0.0.1:9000",
        ),
        ("file:///with space", "file:///with%20space"),
    ] {
        assert_eq!(parse(text).unwrap().to_string(), shown);
    }
    let BucketUrl(place) = parse("file:///with%20space/x").unwrap();
    assert_eq!(place, Place::Directory("/with space/x".into()));
}

#[test]
fn the_parts_are_found() {
    let BucketUrl(place) =
        parse("s3://Backups/a/b?endpoint=http://[::1]:9000&path_style=true").unwrap();
    let expected = S3Place {
        bucket: "Backups".into(),
        prefix: Some(ObjectName::parse("a/b").unwrap()),
        region: None,
        endpoint: Some("http://[::1]:9000".into()),
        path_style: Some(true),
    };
    assert_eq!(place, Place::S3(expected));
}

#[test]
fn what_is_wrong_is_said() {
    for (text, said) in [
        ("backups", "begins with s3://"),
        ("gs://backups", "begins with s3://"),
        ("file://relative", "begins with s3://"),
        ("s3:///prefix", "the bucket must be"),
        ("s3://b:9000/x", "part of the parameter endpoint"),
        (
            "s3://b/a//b",
            "the prefix cannot be used: a segment is empty",
        ),
        ("s3://b/ä", "the prefix cannot be used: '%'"),
        ("s3://b#x", "written as %23"),
        (
            "s3://b?regoin=x",
            "there is no parameter \"regoin\" in the URL of an S3 bucket; there is region, endpoint, path_style",
        ),
        ("s3://b?region=a&region=b", "\"region\" stands twice"),
        ("s3://b?region=", "region must be a name"),
        ("s3://b?path_style=yes", "path_style must be true or false"),
        ("s3://b?endpoint=host", "the endpoint is not a URL"),
        ("s3://b?endpoint=ftp://host", "endpoint must be such as"),
        (
            "s3://b?endpoint=http://host?x=1",
            "endpoint must be such as",
        ),
        (
            "file:///a?region=x",
            "there is no parameter \"region\" in the URL of a directory; there is none",
        ),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn credentials_are_refused_and_not_repeated() {
    for text in [
        "s3://AKIA:hunter2@bucket/x",
        "s3://b?secret_access_key=hunter2",
        "s3://b?aws_access_key_id=hunter2",
        "s3://b?sessionToken=hunter2",
        "s3://b?endpoint=http://user:hunter2@host:9000",
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error, BadUrl::Credentials, "{text}");
        assert!(!error.to_string().contains("hunter2"));
    }
    for text in ["s3://a:hunter2@", "s3://b:hunter2/x", "hunter2://b"] {
        let error = format!("{0} {0:?}", parse(text).unwrap_err());
        assert!(!error.contains("hunter2"), "{error}");
    }
}
