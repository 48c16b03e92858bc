// Demo-s3 runs the demo into a bucket with Object Lock of a real S3 server
// that it starts on loopback, and shows that a delete is refused.
//
//	demo-s3 VERSITYGW INCIDENT-EXPORTER
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	access, secret = "made-up-access", "made-up-secret"
	region, bucket = "us-east-1", "demo"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: demo-s3 VERSITYGW INCIDENT-EXPORTER")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "demo-s3:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, gateway, exporter string) error {
	dir, err := os.MkdirTemp("", "incident-exporter-s3-")
	if err != nil {
		return err
	}
	for _, d := range []string{"root", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	address, err := freePort()
	if err != nil {
		return err
	}
	server := exec.CommandContext(ctx, gateway, "--quiet", "--health", "/healthz", "--port", address, "--region", region,
		"posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "root"))
	server.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+access, "ROOT_SECRET_KEY="+secret)
	if err := server.Start(); err != nil {
		return fmt.Errorf("start versitygw: %w", err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		_ = os.RemoveAll(dir)
	}()
	endpoint := "http://" + address
	if err := ready(endpoint); err != nil {
		return err
	}
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	})
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket), ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
		return fmt.Errorf("create the bucket: %w", err)
	}
	fmt.Printf("A real S3 server, versitygw, at %s, with the bucket %q under Object Lock.\n", endpoint, bucket)

	demo := exec.CommandContext(ctx, exporter, "demo", "--sink", "s3://"+bucket+"/xdr")
	demo.Env = append(os.Environ(), "AWS_ENDPOINT_URL_S3="+endpoint, "AWS_REGION="+region, "AWS_ACCESS_KEY_ID="+access, "AWS_SECRET_ACCESS_KEY="+secret,
		"AWS_EC2_METADATA_DISABLED=true", "EXPORTER_S3_PATH_STYLE=true", "EXPORTER_S3_LOCK_MODE=compliance", "EXPORTER_S3_LOCK_DAYS=1")
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

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func ready(endpoint string) error {
	for range 600 {
		resp, err := http.Get(endpoint + "/healthz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("versitygw is not ready after 30 s")
}
