-- How fast people label.
SELECT annotator, count(*) AS labels, round(median(seconds), 1) AS median_seconds,
       count(*) FILTER (blind) AS blind, min(created_at) AS first, max(created_at) AS last
FROM labels
GROUP BY annotator
ORDER BY annotator
