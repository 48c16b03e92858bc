// Command demo runs the demo of incident-exporter into a bucket with Object
// Lock of a real S3 server that it starts on loopback, and shows that a delete
// is refused.
//
//	demo INCIDENT-EXPORTER
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"incident-exporter/sinks/sinktest/s3server"
)

const bucket = "demo"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo INCIDENT-EXPORTER")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, exporter string) (err error) {
	dir, err := os.MkdirTemp("", "incident-exporter-s3-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := s3server.Launch(dir, false)
	if err != nil {
		return err
	}
	defer server.Stop()
	client, err := server.Owner()
	if err != nil {
		return err
	}
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket), ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
		return fmt.Errorf("create the bucket: %w", err)
	}
	fmt.Printf("A real S3 server, %s, at %s, with the bucket %q under Object Lock.\n", server.Version, server.Endpoint, bucket)

	demo := exec.CommandContext(ctx, exporter, "demo", "--sink", "s3://"+bucket+"/xdr")
	demo.Env = append(append(os.Environ(), server.Environment()...), "EXPORTER_S3_PATH_STYLE=true", "EXPORTER_S3_LOCK_MODE=compliance", "EXPORTER_S3_LOCK_DAYS=1")
	demo.Stdout, demo.Stderr = os.Stdout, os.Stderr
	if err := demo.Run(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}

	fmt.Println("\n== Deleting, as the bucket's owner ===========================================")
	listed, err := client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket), Prefix: aws.String("xdr/incidents/")})
	if err != nil {
		return fmt.Errorf("list the bucket: %w", err)
	}
	if len(listed.Versions) == 0 {
		return errors.New("the bucket is empty")
	}
	v := listed.Versions[0]
	_, err = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: v.Key, VersionId: v.VersionId})
	if err == nil {
		return fmt.Errorf("%s could be deleted", *v.Key)
	}
	said := err.Error()
	fmt.Printf("%s\nis refused: %s\n", *v.Key, said[strings.LastIndex(said, "api error")+len("api error "):])
	return nil
}
